"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

from ..ops.typed import adaptive_avg_pool1d as adaptive_avg_pool1d
from ..ops.typed import adaptive_avg_pool2d as adaptive_avg_pool2d
from ..ops.typed import adaptive_avg_pool3d as adaptive_avg_pool3d
from ..ops.typed import avg_pool1d as avg_pool1d
from ..ops.typed import avg_pool2d as avg_pool2d
from ..ops.typed import avg_pool3d as avg_pool3d
from ..ops.typed import batch_norm as batch_norm
from ..ops.typed import binary_cross_entropy as binary_cross_entropy
from ..ops.typed import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from ..ops.typed import conv1d as conv1d
from ..ops.typed import conv2d as conv2d
from ..ops.typed import conv3d as conv3d
from ..ops.typed import conv_transpose1d as conv_transpose1d
from ..ops.typed import conv_transpose2d as conv_transpose2d
from ..ops.typed import conv_transpose3d as conv_transpose3d
from ..ops.typed import cosine_similarity as cosine_similarity
from ..ops.typed import cross_entropy as cross_entropy
from ..ops.typed import dropout as dropout
from ..ops.typed import elu as elu
from ..ops.typed import group_norm as group_norm
from ..ops.typed import huber_loss as huber_loss
from ..ops.typed import kl_div as kl_div
from ..ops.typed import l1_loss as l1_loss
from ..ops.typed import layer_norm as layer_norm
from ..ops.typed import leaky_relu as leaky_relu
from ..ops.typed import linear as linear
from ..ops.typed import log_sigmoid as log_sigmoid
from ..ops.typed import max_pool1d as max_pool1d
from ..ops.typed import max_pool2d as max_pool2d
from ..ops.typed import max_pool3d as max_pool3d
from ..ops.typed import mse_loss as mse_loss
from ..ops.typed import nll_loss as nll_loss
from ..ops.typed import normalize as normalize
from ..ops.typed import relu as relu
from ..ops.typed import rms_norm as rms_norm
from ..ops.typed import scaled_dot_product_attention as scaled_dot_product_attention
from ..ops.typed import sigmoid as sigmoid
from ..ops.typed import silu as silu
from ..ops.typed import smooth_l1_loss as smooth_l1_loss
from ..ops.typed import softplus as softplus
from ..ops.typed import tanh as tanh

logsigmoid = log_sigmoid
