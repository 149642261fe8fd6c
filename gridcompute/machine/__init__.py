"""This computer: its per-user folder, its processes, a MongoDB on the spot."""
