"""The wire protocol: frames in, decisions out; PROTOCOL.md is its prose.

Pure: no Django, no asyncio, no clock.
"""
