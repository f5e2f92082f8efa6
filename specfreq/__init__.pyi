from . import augment as augment
from . import corruptions as corruptions
from . import data as data
from . import experiment as experiment
from . import figures as figures
from . import filters as filters
from . import fourier as fourier
from . import measures as measures
from . import models as models
from . import train as train
from . import tv as tv
from .data.sets import ImageSet as ImageSet
from .experiment.description import Experiment as Experiment
from .experiment.runs import run as run

__version__: str
