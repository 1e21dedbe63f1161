"""Films and pictures: what `video` reads and `overlay` writes, format by format."""
