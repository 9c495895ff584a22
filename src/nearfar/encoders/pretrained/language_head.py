"""The output layer of a language model of transformers: from the hidden states to a logit for each token."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from nearfar.abilities import LanguageKind
from nearfar.contracts import ForeignForm
from nearfar.encoders.packed.bf16_layers import replace_layers
from nearfar.encoders.pretrained import backbone as backbones
from nearfar.encoders.pretrained.folder import folder_of
from nearfar.encoders.pretrained.module_rows import module_rows
from nearfar.encoders.pretrained.shards import read_shards
from nearfar.errors import InputError
from nearfar.text.tokenizer import library_errors

CLASSES = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM"}  # of transformers
TASKS = {"masked": "fill-mask", "causal": "text-generation"}  # as the hub calls them
TOLERANCE = 1e-4  # of logits by the table of tokens against the model's own, relative to the largest


class LanguageHead(nn.Module):
    """What a masked or causal language model has above its hidden states x: logits = f(x) W' + b.

    f is the family's own: of BERT a linear layer, an activation and a layer norm; of GPT nothing. W has a row for each
    token: the table of token vectors, which stays the encoder's, or one of the head's own where the config unties them.
    What f does is run by the family's own class of transformers, whose layers below are left out.

    model: the class's model, whole; its backbone and its output layer are taken out. table: the encoder's module of
    token vectors. trained: whether the folder that the encoder began from had this head.

    Errors: `InputError` for a model whose logits are no product with a table of tokens.
    """

    def __init__(self, model: Any, table: nn.Module, *, trained: bool) -> None:
        super().__init__()
        self.trained = trained
        below, output = getattr(model, model.base_model_prefix), model.get_output_embeddings()
        if not isinstance(output, nn.Linear):
            raise InputError(f"{type(model).__name__}: it has no linear output layer over a table of tokens")
        own = output.weight is not below.get_input_embeddings().weight
        self.place = next(name for name, module in model.named_modules() if module is output)
        setattr(model, model.base_model_prefix, _Given())
        self.model = model
        states = torch.randn(3, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
        model.eval()
        with torch.no_grad():
            logits = self(states)
        model.set_submodule(self.place, nn.Identity())  # from here on `forward` ends below the output layer
        # Where the family holds the bias beside the output layer, too (BERT), it is registered there already.
        held = [name for name, parameter in model.named_parameters() if parameter is output.bias]
        self.held_bias = held[0] if held else None
        self.own_bias = None if held else output.bias
        self.own_weight = output.weight if own else None
        self.table = (table,)  # the encoder's: what stands in a tuple is no part of the module
        replace_layers(model)
        with torch.no_grad():
            weight = output.weight if own else below.get_input_embeddings().weight
            gap = (linear(self(states), weight, output.bias) - logits).abs().max()
        if not gap <= TOLERANCE * logits.abs().max():
            raise InputError(f"{type(model).__name__}: its logits are more than a product with its table of tokens")

    @classmethod
    def of(cls, backbone: Any, kind: LanguageKind, seed: int, folder: Path | None = None) -> LanguageHead:
        """Return the head of an encoder's model: that of the folder, where it has one of this kind, or a new one.

        seed: of a new one's weights. Errors: `InputError` where the family has no such head.
        """
        config, tensors = copy.deepcopy(backbone.config), {} if folder is None else read_shards(folder)
        config._attn_implementation = "eager"
        if kind == "causal" and not backbones.is_causal(backbone):
            raise InputError(
                f"{config.model_type}: each token sees those behind it, so it cannot be trained to predict the next; "
                "take a decoder, e.g. encoder.config.model_type=gpt2, or the recipe masked_language"
            )
        made, missing = _model(config, kind, seed), set()
        if tensors:
            where = f"{folder}: transformers cannot read its {kind} language model"
            with torch.random.fork_rng([]), backbones.quiet(), library_errors(where, "copy the model folder again"):
                torch.manual_seed(seed)  # of what the folder lacks
                made, info = type(made).from_pretrained(
                    None,
                    config=config,
                    state_dict=tensors,
                    dtype=torch.float32,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # refused below, by name
                )
            if wrong := sorted(info["mismatched_keys"]):
                name, there, wanted = (wrong[0][0], *(tuple(shape) for shape in wrong[0][1:3]))
                raise InputError(
                    f"{folder}: {name} is {there}, its config.json asks for {wanted}; the folder's files do not belong "
                    "together"
                )
            missing = set(info["missing_keys"])
        prefix = f"{made.base_model_prefix}."
        names = {name for name, _ in made.named_parameters() if not name.startswith(prefix)}
        return cls(made.float(), backbone.get_input_embeddings(), trained=bool(tensors) and not names & missing)

    def forward(self, states: Tensor) -> Tensor:
        """Return what the output layer takes, (n, d), of hidden states (n, width)."""
        out: Tensor = self.model(inputs_embeds=states[None]).logits[0]
        return out

    @property
    def weight(self) -> Tensor:
        """The row of each token, (v, d)."""
        weight: Any = self.table[0].weight if self.own_weight is None else self.own_weight
        return cast("Tensor", weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias of each token, (v,); None where the family has none."""
        bias: Tensor | None = self.own_bias
        return bias if self.held_bias is None else self.model.get_parameter(self.held_bias)

    def language_model(self, backbone: Any) -> Any:
        """Return the whole model of transformers, with these layers below, to be saved; all weights are shared."""
        model = copy.deepcopy(self.model, {id(p): p for p in self.model.parameters()})
        table = backbone.get_input_embeddings().weight if self.own_weight is None else self.own_weight
        output = nn.Linear(table.shape[1], table.shape[0], bias=self.bias is not None, device="meta")
        output.weight, output.bias = cast("nn.Parameter", table), cast("nn.Parameter", self.bias)
        model.set_submodule(self.place, output)
        setattr(model, model.base_model_prefix, backbone)
        model.config = backbone.config
        return model


def _model(config: Any, kind: LanguageKind, seed: int) -> Any:
    """Return a new model with its head. Errors: `InputError` where the family has none."""
    import transformers

    try:
        with torch.random.fork_rng([]), backbones.quiet():
            torch.manual_seed(seed)
            return getattr(transformers, CLASSES[kind]).from_config(config)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        fix = "take a family that has one: bert, roberta, distilbert, modernbert" if kind == "masked" else "take gpt2"
        why = str(error).splitlines()[0]
        raise InputError(
            f"{config.model_type}: transformers has no {kind} language model of it ({why:.200}); {fix}"
        ) from error


def head_of(encoder: Any, kind: LanguageKind) -> LanguageHead:
    """Return the head of an encoder (`Transformer`), the same one whenever it is asked for."""
    if kind not in encoder.language_heads:
        model = encoder.backbone
        folder = None if encoder.model is None else module_rows(folder_of(encoder.model), encoder.route)[0][1]
        head = LanguageHead.of(model, kind, encoder.seed, folder)
        encoder.language_heads[kind] = head.to(next(model.parameters()).device).train(encoder.training)
    found: LanguageHead = encoder.language_heads[kind]
    return found


def language_forms(encoder: Any) -> list[ForeignForm]:
    """Return the form in which transformers reads the head that is saved; [] where none was asked for."""
    kinds = list(encoder.language_heads)
    if not kinds:
        return []
    path, name = '"path/to/this/folder"', CLASSES[kinds[-1]]
    lines = [
        f"from transformers import {name}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({path})",
        f"model = {name}.from_pretrained({path})",
    ]
    if kinds[-1] == "causal":
        lines.append('written = model.generate(**tokenizer("The", return_tensors="pt"))')
    else:
        lines.append('logits = model(**tokenizer(f"a {tokenizer.mask_token}", return_tensors="pt")).logits')
    return [ForeignForm("transformers", example="\n".join(lines), task=TASKS[kinds[-1]])]


def with_head(encoder: Any, backbone: nn.Module) -> nn.Module:
    """Return a model with the head that was asked for of its encoder, as it is saved; without one, the model itself."""
    heads = list(encoder.language_heads.values())
    found: nn.Module = heads[-1].language_model(backbone) if heads else backbone
    return found


class _Given(nn.Module):
    """In the place of a model's backbone: returns the hidden states that it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        """Return them as transformers does."""
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=inputs_embeds)
