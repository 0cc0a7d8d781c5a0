"""The merge: messages in any order in, one scene graph out.  Pure: no Django, no asyncio, no clock, no randomness."""
