"""What browsers may ask of the studio, a file for each topic."""
