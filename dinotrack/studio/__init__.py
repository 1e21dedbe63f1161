"""The studio: a local page in which points are placed, tracked, mended and taught.

What the user made is a `Document` (document.py), changed by edits (shapes.py, edits.py), with undo
and redo (history.py), that a journal keeps (journal.py). A session does all of the method's work on
one video (engine.py says what it can do, session.py does it). The server (app.py and routes) lets
browsers see and change both.
"""
