"""What is asked about the past: read models fed from the log. They come with the read side."""
