"""The zooniverse room: all HTTP. What is asked of Zooniverse or of its image store is asked here."""
