"""The exceptions of the detector; each message says what to do.

DetectorError (ValueError)
├── BaselineError              a baseline cannot be fitted or read
│   ├── TooFewRowsError        fewer rows than the longest window or a class needs
│   ├── ConstantFeaturesError  features that never vary
│   └── ArtefactError          a file that is damaged or not a baseline
├── ActivationsError           rows that do not fit the baseline
│   ├── NotFiniteError         NaN or infinity
│   ├── DimensionError         another width, layer or number of rows
│   └── UnseenClassError       a predicted class without baseline rows
└── SketchError                sketches of different baselines, damaged bytes
"""


class DetectorError(ValueError):
    """Base class of all errors that the detector raises deliberately."""


class BaselineError(DetectorError):
    """A baseline cannot be fitted on these rows, or read from this file."""


class TooFewRowsError(BaselineError):
    """Too few rows for a class or for the longest window."""


class ConstantFeaturesError(BaselineError):
    """Some features never vary in the baseline, so they cannot be standardised."""


class ArtefactError(BaselineError):
    """The file is not a baseline of this format, or was changed after it was written."""


class ActivationsError(DetectorError):
    """Rows of activations that do not fit the baseline."""


class NotFiniteError(ActivationsError):
    """The activations contain NaN or infinity."""


class DimensionError(ActivationsError):
    """A layer is missing, or its width or number of rows is not the expected one."""


class UnseenClassError(ActivationsError):
    """A predicted class of which the baseline has no rows."""


class SketchError(DetectorError):
    """Sketches that cannot be added, or bytes that are not a sketch."""
