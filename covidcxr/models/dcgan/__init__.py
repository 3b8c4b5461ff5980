"""The generative adversarial network that khalifa2020 (sections 3.1 and 5, Figs. 4 and 5) enlarges its set with.

What the paper fixes: a generator of 5 transposed convolutions, 4 batch normalizations, 4 ReLU and one tanh; a
discriminator of 5 convolutions, 3 batch normalizations and 4 leaky ReLU; every kernel 4 × 4; Gaussian noise.
These are the layers of DCGAN (Radford 2015, arXiv:1511.06434) in its usual form, so what the paper leaves open
is taken from there:

==================  =============================================  ==========================================
image               64 × 64, 3 channels                            Radford 2015, Fig. 1
noise               100 values                                     Radford 2015, Fig. 1 (uniform there)
channels of layers  512, 256, 128, 64 and mirrored                 Half of Radford's Fig. 1, as in the
                                                                   reference implementations
weights at first    normal, deviation 0.02                         Radford 2015, section 4
leaky ReLU          slope 0.2                                      Radford 2015, section 4
optimiser           Adam, 2e-4, beta_1 0.5, one a network          Radford 2015, section 4
loss                binary cross-entropy; the generator maximises  Goodfellow 2014, section 3 and algorithm 1
                    log D(G(z)); one step each in turn
batch norm          none after the discriminator's first layer and Radford 2015, section 3 (the paper's counts
                    the generator's last; momentum 0.9             agree); momentum ours, for small sets
==================  =============================================  ==========================================

At 128 × 128 the counts and kernels stay the paper's, and so do the numbers of parameters: the one layer next to
the 4 × 4 map has stride 4 (equal to the kernel, so that its patches tile) where the others have 2.
"""

from covidcxr.models.dcgan.model import DCGAN
from covidcxr.models.dcgan.networks import SIZES, discriminator, generator
from covidcxr.models.dcgan.pictures import gan_batches, small_images
from covidcxr.models.dcgan.sheets import SampleSheets, mosaic

__all__ = [
    "DCGAN",
    "SIZES",
    "SampleSheets",
    "discriminator",
    "gan_batches",
    "generator",
    "mosaic",
    "small_images",
]
