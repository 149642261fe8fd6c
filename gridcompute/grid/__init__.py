"""What a grid is made of: cases, settings, archives, the shared folder, applications, the database."""
