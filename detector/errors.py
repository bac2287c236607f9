"""The exceptions of the detector; each message says what to do.

DetectorError (ValueError)
├── BaselineError              a baseline cannot be fitted, or not be read
│   ├── TooFewRowsError        fewer rows than the longest window or a class needs
│   ├── ConstantFeaturesError  features that never vary
│   └── ArtefactError          a file that is no baseline, or is damaged
├── ActivationsError           rows that do not fit the baseline
│   ├── NotFiniteError         NaN or infinity
│   ├── DimensionError         another width, layer or number of rows
│   └── UnseenClassError       a predicted class that the baseline does not know
└── SketchError                sketches of different baselines, or damaged bytes
"""


class DetectorError(ValueError):
    """Base of all errors that `detector` raises on purpose."""


class BaselineError(DetectorError):
    """A baseline cannot be fitted from these rows, or not be read from this file."""


class TooFewRowsError(BaselineError):
    """The rows do not carry the promise: too few for a class or for the longest window."""


class ConstantFeaturesError(BaselineError):
    """Some features never vary in the baseline, so that they cannot be standardised."""


class ArtefactError(BaselineError):
    """The file is not a baseline of this format, or was changed after it was written."""


class ActivationsError(DetectorError):
    """Rows of activations that do not fit the baseline."""


class NotFiniteError(ActivationsError):
    """The activations contain NaN or infinity."""


class DimensionError(ActivationsError):
    """A layer is missing, or its width or number of rows is not the expected one."""


class UnseenClassError(ActivationsError):
    """A predicted class that the baseline has no rows of."""


class SketchError(DetectorError):
    """Sketches that cannot be added, or bytes that are no sketch."""
