"""Who is asking: credentials in, a proved Principal out."""
