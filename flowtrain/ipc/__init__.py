"""Worker processes, the memory they share, channels between them, and the codec. Knows no dataflow."""
