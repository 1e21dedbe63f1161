"""From a fitted tracker to trajectories, in two ways.

`matching` is the paper's way: every frame is matched on its own. `joining` is ours, and reads as a
recipe: `flow_chain` follows flow from each query, `candidates` proposes matches in each frame,
`path` chooses among them, `refinding` looks again for what flow has lost, `smoothing` places the
track precisely, `evidence` says how sure we are, `memory` learns from what was seen, and `support`
lets neighbouring points vote. `patches` knows what a query looks like in the picture, with the
algebra of `matrices`.
"""
