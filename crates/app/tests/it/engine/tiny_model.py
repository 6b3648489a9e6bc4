"""A language model of half a megabyte with random weights: nothing that it says has a meaning, and all of it is computed."""

import gguf
import numpy

DIMS, LAYERS, HEADS, HIDDEN, CONTEXT, WORDS = 64, 2, 4, 128, 8192, 100


def write(path, seed):
    random = numpy.random.default_rng(seed)
    kinds = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + [f"▁w{n}" for n in range(WORDS)]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256 + [kinds.NORMAL] * WORDS
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIMS)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIMS // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")

    def weights(name, *shape):
        writer.add_tensor(name, (random.standard_normal(shape) * 0.1).astype(numpy.float32))

    def ones(name):
        writer.add_tensor(name, numpy.ones(DIMS, numpy.float32))

    weights("token_embd.weight", len(tokens), DIMS)
    weights("output.weight", len(tokens), DIMS)
    ones("output_norm.weight")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight")
        ones(block + "ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"{block}{part}.weight", DIMS, DIMS)
        weights(block + "ffn_gate.weight", HIDDEN, DIMS)
        weights(block + "ffn_up.weight", HIDDEN, DIMS)
        weights(block + "ffn_down.weight", DIMS, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
