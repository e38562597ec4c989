"""Make a model from any torchvision ResNet state dict in safetensors: both PCAs and the acceptance
are fitted on your photos.
"""

import sys

from pipeline.commands.import_weights import main

if __name__ == "__main__":
    sys.exit(main())
