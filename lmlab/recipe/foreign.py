"""Setting names of nanoGPT, Hugging Face, books and papers, with their names here."""

from __future__ import annotations

NAMES = {
    # nanoGPT's train.py
    "max_iters": "train.steps",
    "lr_decay_iters": "schedule.steps",
    "warmup_iters": "schedule.warmup",
    "learning_rate": "optim.lr",
    "min_lr": "schedule.floor (a share of the peak rate)",
    "decay_lr": "schedule.kind (constant for none)",
    "weight_decay": "optim.weight_decay",
    "beta1": "optim.betas",
    "beta2": "optim.betas",
    "grad_clip": "optim.clip",
    "batch_size": "train.batch",
    "gradient_accumulation_steps": "train.micro_batch (sequences a forward pass; train.batch stays the whole)",
    "block_size": "model.context",
    "n_layer": "model.layers",
    "n_head": "model.heads",
    "n_embd": "model.width",
    "n_kv_head": "model.kv_heads",
    "dropout": "model.dropout",
    "bias": "model.bias",
    "eval_interval": "evaluate.every",
    "eval_iters": "evaluate.tokens",
    "log_interval": "train.log_every",
    "out_dir": "run (where it is made: --runs)",
    "init_from": "from (a new run from another's checkpoint), or the verb resume",
    "dataset": "data.corpus",
    "dtype": "train.precision",
    "compile": "train.compile",
    "device": "train.device",
    "seed": "train.seed",
    "max_new_tokens": "tokens",
    "num_samples": "samples",
    "start": "prompt",
    # Hugging Face's TrainingArguments, EarlyStoppingCallback and GPT2Config
    "max_steps": "train.steps",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.micro_batch",
    "warmup_steps": "schedule.warmup",
    "lr_scheduler_type": "schedule.kind",
    "max_grad_norm": "optim.clip",
    "early_stopping_patience": "train.patience",
    "early_stopping_threshold": "train.minimum_gain",
    "adam_beta1": "optim.betas",
    "adam_beta2": "optim.betas",
    "adam_epsilon": "optim.eps",
    "eval_steps": "evaluate.every",
    "logging_steps": "train.log_every",
    "save_steps": "train.checkpoint_every",
    "save_total_limit": "train.keep",
    "output_dir": "run (where it is made: --runs)",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "tf32": "train.precision",
    "torch_compile": "train.compile",
    "n_positions": "model.context",
    "n_ctx": "model.context",
    "max_position_embeddings": "model.context",
    "hidden_size": "model.width",
    "num_hidden_layers": "model.layers",
    "num_attention_heads": "model.heads",
    "num_key_value_heads": "model.kv_heads",
    "intermediate_size": "model.hidden",
    "tie_word_embeddings": "model.tied",
    **dict.fromkeys(("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps"), "model.norm_epsilon"),
    **dict.fromkeys(("rope_theta", "rope_base"), "model.rotary_base"),
    "resume_from_checkpoint": "the verb resume (lmlab resume RUN)",
    # S. Raschka's LLMs-from-scratch, nanochat, llm.c and others
    **dict.fromkeys(
        ("emb_dim", "embed_dim", "embedding_dim", "embedding_size", "embd_dim", "d_model", "model_dim"), "model.width"
    ),
    **dict.fromkeys(("n_layers", "num_layers", "depth"), "model.layers"),
    **dict.fromkeys(("n_heads", "num_heads", "nhead"), "model.heads"),
    **dict.fromkeys(("n_kv_heads", "n_kv_groups", "num_kv_heads"), "model.kv_heads"),
    **dict.fromkeys(("hidden_dim", "ff_dim", "ffn_dim", "d_ff", "dim_feedforward", "mlp_dim"), "model.hidden"),
    **dict.fromkeys(("context_dim", "context_vector_dim"), "model.vector (of model.kind context)"),
    **dict.fromkeys(
        ("context_length", "context_len", "context_size", "ctx_len", "seq_len", "seq_length", "sequence_length"),
        "model.context",
    ),
    **dict.fromkeys(("max_seq_len", "max_seq_length", "max_length"), "model.context"),
    **dict.fromkeys(("drop_rate", "dropout_rate", "dropout_p", "p_dropout", "resid_pdrop"), "model.dropout"),
    **dict.fromkeys(("attention_bias", "use_qkv_bias"), "model.qkv_bias"),
    **dict.fromkeys(("weight_tying", "tie_weights", "tied_embeddings"), "model.tied"),
    "logit_softcap": "model.softcap",
    **dict.fromkeys(("vocab_size", "vocabulary_size"), "data.vocabulary"),
    **dict.fromkeys(("val_split", "valid_split", "validation_split", "val_ratio", "test_size"), "data.valid_share"),
    **dict.fromkeys(("num_epochs", "n_epochs", "max_epochs", "epoch"), "train.epochs"),
    **dict.fromkeys(("num_steps", "n_steps", "num_iterations", "iterations", "iters", "train_steps"), "train.steps"),
    **dict.fromkeys(("total_batch_size", "global_batch_size"), "train.batch (in sequences)"),
    **dict.fromkeys(
        ("device_batch_size", "micro_batch_size", "mbs", "accumulation_steps", "grad_accum_steps", "grad_accum"),
        "train.micro_batch (sequences a forward pass; train.batch stays the whole)",
    ),
    **dict.fromkeys(
        ("gradient_accumulation", "grad_accumulation_steps"), "train.micro_batch (sequences a forward pass)"
    ),
    **dict.fromkeys(("random_seed", "manual_seed", "rng_seed"), "train.seed"),
    **dict.fromkeys(("mixed_precision", "amp", "use_amp"), "train.precision"),
    **dict.fromkeys(("save_every", "save_interval", "checkpoint_interval", "ckpt_interval"), "train.checkpoint_every"),
    **dict.fromkeys(("early_stopping", "early_stop_patience"), "train.patience"),
    **dict.fromkeys(("min_delta", "early_stopping_delta"), "train.minimum_gain"),
    **dict.fromkeys(("eval_every", "eval_freq", "val_loss_every", "val_interval"), "evaluate.every"),
    **dict.fromkeys(("eval_iter", "eval_tokens", "val_max_steps"), "evaluate.tokens"),
    **dict.fromkeys(("peak_lr", "max_lr", "base_lr"), "optim.lr"),
    "optimizer": "optim.kind",
    "wd": "optim.weight_decay",
    "epsilon": "optim.eps",
    **dict.fromkeys(
        ("gradient_clip", "grad_clip_norm", "gradient_clipping", "gradient_clip_val", "clip_grad", "clip_grad_norm"),
        "optim.clip",
    ),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule", "lr_decay_style"), "schedule.kind"),
    **dict.fromkeys(("warmup_epochs", "num_warmup_epochs", "warmup_ratio"), "schedule.warmup (in steps)"),
    "num_warmup_steps": "schedule.warmup",
    **dict.fromkeys(("initial_lr", "warmup_init_lr", "from"), "schedule.warmup_from (a share of the peak rate)"),
    **dict.fromkeys(("min_lr_ratio", "final_lr_frac"), "schedule.floor (a share of the peak rate)"),
    **dict.fromkeys(("dataset_path", "data_path", "train_file", "input_file"), "data.corpus"),
    "run_name": "run",
}
"""Foreign name -> the setting's dotted name, a flag without its dashes, or "the verb ...", with a remark in brackets."""


def own_name(word: str) -> str | None:
    """Return the name here of the foreign name `word`, ignoring a section before a dot; None if it isn't a known foreign name."""
    return NAMES.get(word.lstrip("-").rpartition(".")[2].replace("-", "_").lower())


def foreign_name_hint(word: str) -> str | None:
    """Return a message that gives the name here of the foreign name `word`; None if it isn't a known foreign name."""
    ours = own_name(word)
    if ours is None or ours.split(" ")[0] == word:
        return None
    if ours.startswith("the verb"):
        return f"'{word}' is not a setting, but {ours}"
    return f"'{word}' is called {ours} here" if "." in ours.split(" ")[0] else f"'{word}' is the flag --{ours}"
