"""Labels by people: a request for a tool, what comes back, how it stands."""
COMMANDS = ('export', 'import', 'status')
