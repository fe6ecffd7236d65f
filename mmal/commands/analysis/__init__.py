"""The papers' analyses of runs and detectors."""
COMMANDS = ('draw-uncertainties', 'uncertainty-map', 'score-map',
            'uncertainty-overlap', 'uncertainty-shift', 'reliability',
            'calibrate', 'selected-boxes', 'selected-map', 'forecast',
            'label-errors')
