"""Activation memory of a GPT: bytes that its forward pass saves for backward, in eager mode. Arithmetic only: no torch.

Counted per token, by what each operation saves: an n-gram look-up saves its row number, a matrix multiplication its input, a norm
its input and one or two numbers, gelu its input, relu its output, dropout its mask, fused attention queries, keys, values, output
and one float32 a head. The residual stream and the norms' inputs are always float32; `element_bytes` is the size of the operands
of multiplications: 4, or 2 under autocast, which also keeps a copy of the matrices at that size. Gradients, optimizer state,
weights, and tensors that are freed before the backward pass aren't counted.
"""

from __future__ import annotations

from lmlab.model.gpt_cost import gpt_parameters
from lmlab.model.gpt_shapes import head_width, hidden_width, key_value_heads, loss_chunk, qkv_width, up_width
from lmlab.recipe.model import GPT

FLOAT32 = 4
INT64 = 8


def gpt_bytes(model: GPT, vocabulary: int, micro_batch: int, element_bytes: int, device: str) -> int:
    """Return the bytes saved for backward: see `lmlab.model.cost.activation_bytes`."""
    layers = sum(
        _attention_bytes(model, layer, element_bytes, device) + _mlp_bytes(model, element_bytes, device)
        for layer in range(model.layers)
    )
    chunked = loss_chunk(micro_batch * model.context, vocabulary, device) is not None
    head = _norm_bytes(model, element_bytes) + (0 if chunked else _logit_bytes(model, vocabulary))
    token = _embedding_bytes(model, device) + layers + head
    # The rotation's complex factors are shared by the rows of a batch: 8 bytes for each pair of dimensions of a head.
    shared = model.context * head_width(model) // 2 * 2 * FLOAT32 if model.positions == "rotary" else 0
    # One mask of the documents, which all layers share; `attend_unfused` doesn't save it.
    masked = model.boundary is not None and (device == "cuda" or not model.dropout)
    token += model.context * element_bytes if masked else 0
    copies = gpt_parameters(model, vocabulary)["matrix"] * element_bytes if element_bytes < FLOAT32 else 0
    # The gradient of the head, which a chunked loss computes in the forward pass.
    ahead = vocabulary * (model.width + model.head_bias) * FLOAT32 if chunked else 0
    return micro_batch * model.context * token + shared + copies + ahead


def _embedding_bytes(model: GPT, device: str) -> int:
    """Return the bytes of n-gram row numbers, the embedding's dropout, and the embedding if later blocks mix it in."""
    # LayerNorm and the fused RMSNorm of a GPU save the embedding anyway, as the first block's input.
    kept_by_norm = model.norm == "layernorm" or device == "cuda"
    skipped = model.width * FLOAT32 if model.embedding_skip and model.layers > 1 and not kept_by_norm else 0
    looked_up = INT64 * len(model.ngrams)
    return looked_up + _dropout_bytes(model, model.width, FLOAT32, device) + skipped


def _attention_bytes(model: GPT, layer: int, element: int, device: str) -> int:
    """Return the bytes of one layer's attention: norm, input projection, attention, output projection."""
    width, heads = model.width, model.heads
    both = (heads + key_value_heads(model)) * head_width(model)
    kept = _norm_bytes(model, element)
    if model.embedding_skip and layer > 0:
        kept += width * FLOAT32  # the stream before the mixing
    if model.qk_norm:
        kept += both * element + (heads + key_value_heads(model)) * FLOAT32
    kept += _kernel_bytes(model, layer, element, device)
    kept += width * element  # the heads' output, which the projection multiplies
    return kept + _dropout_bytes(model, width, element, device)


def _kernel_bytes(model: GPT, layer: int, element: int, device: str) -> int:
    """Return the bytes that softmax(Q K^T) V saves, without its output: its inputs, and the attention weights or their log-sums."""
    width, heads, head = model.width, model.heads, head_width(model)
    values = key_value_heads(model) * head
    both = width + values
    mixed = model.value_residual and layer > 0
    # The fused projection's output is kept as a whole while one of its parts is saved: mixing saves the values.
    mixing_keeps = model.value_residual and model.layers > 1
    whole = qkv_width(model) * element
    if model.dropout and device != "cuda":
        # `attend_unfused`: copies of q, k and v, with k and v repeated for every head; softmax, mask and product, T a head each.
        weights = heads * model.context
        return 3 * width * element + 3 * weights * element + (whole if mixing_keeps else 0)
    kept = heads * FLOAT32  # the logarithm of each softmax's sum
    if model.positions == "rotary":
        kept += both * element  # rotated queries and keys; those of qk_norm alone were counted there
    return kept + whole + (values * element if mixed else 0)


def _mlp_bytes(model: GPT, element: int, device: str) -> int:
    """Return the bytes of one layer's MLP: norm, hidden vector before and after the activation, dropout."""
    hidden = hidden_width(model)
    widened = {
        "relu": hidden,  # its output, which the second matrix multiplies
        "relu2": 2 * hidden,  # the positive part and its square
        "gelu": 2 * hidden,  # its input and its output
        "gelu_tanh": 2 * hidden,
        "swiglu": up_width(model) + 2 * hidden,  # gate and value, silu(gate), their product
    }[model.activation]
    return _norm_bytes(model, element) + widened * element + _dropout_bytes(model, model.width, element, device)


def _logit_bytes(model: GPT, vocabulary: int) -> int:
    """Return the bytes of the loss's float32 log-probabilities, and of the soft cap."""
    return vocabulary * (FLOAT32 + (FLOAT32 if model.softcap else 0))


def _norm_bytes(model: GPT, element: int) -> int:
    """Return the bytes of a norm's input (RMSNorm on a CPU: its normalised vector), one or two float32, and its output."""
    return model.width * FLOAT32 + FLOAT32 * (2 if model.norm == "layernorm" else 1) + model.width * element


def _dropout_bytes(model: GPT, width: int, element: int, device: str) -> int:
    """Return the bytes of a dropout mask, which has the numbers' dtype on a CPU and is bytes on a GPU."""
    if not model.dropout:
        return 0
    return width * (1 if device == "cuda" else element)
