"""Real-time collaboration on 3D scene graphs: merge core, wire protocol and Python client."""
