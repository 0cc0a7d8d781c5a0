"""Live rooms: who is connected, what they may do, and how their messages reach the journal and each other."""
