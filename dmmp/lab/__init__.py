"""The laboratory: the real roles and their relatives on the same networks, and how good they are.

Needs the extra `lab`. `case` is one run, `protocols` who can be run, `study` many runs, `report`
what came of them; `frame` and `arena` are where the relatives run, `underlays` and `bounds` what
all are measured against.
"""
