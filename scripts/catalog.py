#!/usr/bin/env python3
"""Builds the embedded catalog of models and prices: run by hand, when there are newer prices.

    scripts/catalog.py ../shared/catalog/prices_source.json --date 2026-11

The source is a JSON object, model name to its facts. One line a model goes to src/catalog/models.tsv,
the same bytes for the same source; what was kept, merged and left out, and why, goes to stdout. Prices
become US dollars per million units and stay decimal from the source's text to the file.
"""
import argparse
import collections
import json
import pathlib
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = "provider id region task input_max output_max dimensions deprecated abilities prices"

# The source's providers by our names. What is not here keeps its own name.
PROVIDERS = {
    "gemini": "google-ai-studio", "azure": "azure-openai", "azure_ai": "azure-openai", "cloudflare": "workers-ai",
    "bedrock": "aws-bedrock", "bedrock_converse": "aws-bedrock", "dashscope": "alibaba", "volcengine": "bytedance",
    "fireworks_ai": "fireworks", "together_ai": "together", "nvidia_nim": "nvidia", "cohere_chat": "cohere",
    "jina_ai": "jina", "fal_ai": "fal", "runwayml": "runway", "black_forest_labs": "black-forest-labs",
}
TASKS = {
    "chat": "chat", "completion": "chat", "responses": "chat", "embedding": "embedding", "rerank": "rerank",
    "image_generation": "image", "image_edit": "image", "video_generation": "video", "audio_speech": "speech",
    "audio_transcription": "transcription", "moderation": "moderation",
}
NO_TASK = {
    "realtime": "speaks over a realtime socket, which is no task of ours",
    "decisions": "answers /decisions, which is no task of ours",
    "extraction": "answers /extraction, which is no task of ours",
}
# An ability and the source's key for it. `!` before the key: what is true unless the source denies it.
ABILITIES = {
    "tools": "supports_function_calling", "parallel_tools": "supports_parallel_function_calling",
    "tool_choice": "supports_tool_choice", "forced_tool": "!supports_forced_tool_use",
    "vision": "supports_vision supports_image_input supports_embedding_image_input", "pdf": "supports_pdf_input",
    "audio_input": "supports_audio_input", "audio_output": "supports_audio_output",
    "video_input": "supports_video_input", "reasoning": "supports_reasoning",
    "reasoning_always": "thinking_always_on", "adaptive_thinking": "supports_adaptive_thinking",
    "effort_none": "supports_none_reasoning_effort", "effort_minimal": "supports_minimal_reasoning_effort",
    "effort_xhigh": "supports_xhigh_reasoning_effort", "effort_max": "supports_max_reasoning_effort",
    "prefill": "supports_assistant_prefill", "system": "!supports_system_messages",
    "sampling": "!supports_sampling_params",
    "structured_output": "supports_response_schema supports_native_structured_output",
    "prompt_caching": "supports_prompt_caching", "web_search": "supports_web_search",
    "url_context": "supports_url_context", "computer_use": "supports_computer_use",
    "streaming": "!supports_native_streaming",
}
# A price by the source's key, without the suffixes for tiers.
UNITS = {
    "input_cost_per_token": "in", "output_cost_per_token": "out", "cache_read_input_token_cost": "cached",
    "input_cost_per_token_cache_hit": "cached", "cache_creation_input_token_cost": "write",
    "cache_creation_input_token_cost_above_1hr": "write_1h",
    "cache_creation_input_token_cost_above_12hr": "write_12h", "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out", "cache_read_input_audio_token_cost": "audio_cached",
    "cache_creation_input_audio_token_cost": "audio_write", "input_cost_per_image_token": "image_token_in",
    "output_cost_per_image_token": "image_token_out", "cache_read_input_image_token_cost": "image_token_cached",
    "input_cost_per_video_token": "video_token_in", "output_cost_per_video_token": "video_token_out",
    "output_cost_per_reasoning_token": "reasoning", "citation_cost_per_token": "citation",
    "explicit_cache_read_input_token_cost": "cached_explicit", "input_cost_per_request": "request",
    "input_cost_per_text_message": "message", "input_cost_per_query": "query", "input_cost_per_image": "image_in",
    "output_cost_per_image": "image", "input_cost_per_second": "second_in", "output_cost_per_second": "second",
    "input_cost_per_video_per_second": "video_second_in", "output_cost_per_video_per_second": "second",
    "input_cost_per_audio_per_second": "audio_second_in", "input_cost_per_character": "character",
    "output_cost_per_character": "character_out", "google_maps_grounding_cost_per_query": "maps",
    "code_interpreter_cost_per_session": "session", "search_context_cost_per_query": "search",
    "input_cost_per_pixel": "pixel", "output_cost_per_pixel": "pixel",
    "regional_endpoint_uplift_multiplier": "x_regional", "regional_processing_uplift_multiplier_eu": "x_eu",
    "regional_processing_uplift_multiplier_us": "x_us",
}
SERVICES = {"_batches": "batch", "_flex": "flex", "_priority": "priority", "_ultrafast": "ultrafast",
            "_decisions": "decisions"}
# Keys without a price or an ability of ours.
IGNORED = {
    "litellm_provider": "is the provider", "mode": "is the task", "max_tokens": "is max_output_tokens again",
    "supported_modalities": "told by the abilities", "supported_output_modalities": "told by the abilities",
    "supports_multimodal": "told by the abilities", "prompt_cache_min_tokens": "a provider refuses or ignores it itself",
    "search_free_requests": "how many searches are free a day is known to the provider only",
    "web_search_billing_unit": "names a unit, and the source has no price for it",
    "comment": "prose", "cost_per_second": "reserved capacity by the hour, of rows that are left out",
    "default_reasoning_effort": "adapters send an effort only where the job has one",
}
IGNORED_PATTERNS = {
    r"supports_bedrock|bedrock_|uses_embed_content|gemini_|vertex_ai_audio|audio_transcription_config|"
    r"supports_nova_canvas|token_count_|supports_output_config|supports_legacy_thinking|reasoning_|"
    r"supports_(mid_conversation|parallel_tool_use_config|tool_search|anthropic_compaction|low_reasoning|image_size|"
    r"thinking_cache|prompt_cache_breakpoint|regex|speed|fast_mode)|supported_(audio_formats|regions)":
        "how another program speaks with the provider",
}
# Where a price of 0 is meant; elsewhere a model whose prices are all 0 has none that is known.
FREE = re.compile(r"^(ollama/.*|openai/omni-moderation-.*|zai/glm-4\.[57]-flash|google-ai-studio/gemma-.*)$")
ABOVE = re.compile(r"_above_(\d+)k_tokens")
INTERVAL = re.compile(r"_above_(\d+)s_interval")
VARIANT = re.compile(r"_(\d+(?:\.\d+)?[pkK]|\d{3,4})$")
SIZE = re.compile(r"^(\d+|max)-x-(\d+|max)$")
QUALITY = re.compile(r"^(low|medium|high|xhigh|max|standard|hd|(\d+|max)-steps)$")
REGION = re.compile(r"^(us|eu|apac|global|global-standard|us-gov|[a-z]{2}(-gov)?-[a-z]+-\d)$")
# Digits of a price that are meant; the source has some that went through a float.
PRECISION = Context(prec=12, rounding=ROUND_HALF_EVEN)
# A millionth millionth of a dollar per million units.
FINEST = Decimal("1e-12")


class Report:
    def __init__(self):
        self.left_out = collections.defaultdict(list)
        self.merged = collections.defaultdict(list)
        self.ignored = collections.Counter()
        self.rounded = []

    def show(self, rows, source_count):
        print(f"{source_count} source entries, {len(rows)} lines kept")
        for title, groups in (("left out", self.left_out), ("merged", self.merged)):
            for why, names in sorted(groups.items()):
                print(f"  {title} {len(names):4}: {why}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")
        print(f"  rounded to 12 digits (floats' noise): {len(self.rounded)}: {', '.join(self.rounded[:3])} …")
        print("keys that are ignored, and why")
        for (key, why), count in sorted(self.ignored.items()):
            print(f"  {count:4} {key}: {why}")
        for column, title in ((0, "provider"), (3, "task")):
            counts = collections.Counter(row[column] for row in rows)
            print(f"by {title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        counts = collections.Counter(
            re.split(r"[/>@ ]", price)[0] for row in rows for price in row[9].split("|") if price)
        print("prices: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))


def amount(value):
    """A decimal as short as it can be written, without an exponent."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def per_million(value, where, report):
    meant = (PRECISION.create_decimal(value) * 1_000_000).quantize(FINEST, ROUND_HALF_EVEN)
    if meant != Decimal(value) * 1_000_000:
        report.rounded.append(where)
    return amount(meant)


def place(key, facts):
    """(our provider, its own id of the model, region, variant of an image's price), or why there is none."""
    source = facts["litellm_provider"]
    provider = "google-vertex-ai" if source.startswith("vertex_ai") else PROVIDERS.get(source, source)
    parts = key.split("/")
    variant, prefixes = [], {source, source.split("-")[0], "bedrock"}
    while len(parts) > 1:
        if parts[0] in prefixes:
            parts.pop(0)
            prefixes = ()
        elif SIZE.match(parts[0]) or QUALITY.match(parts[0]):
            variant.append(parts.pop(0).replace("-x-", "x"))
        else:
            break
    region = ""
    if provider == "aws-bedrock" and parts[0] == "claude_platform":
        return "claude-platform-aws", parts[1], "", ""
    if provider == "aws-bedrock" and len(parts) > 1 and "commitment" in parts[1]:
        return "reserved capacity by the hour, not a model"
    if provider in ("aws-bedrock", "azure-openai"):
        if parts[0] in ("invoke", "speech"):
            parts.pop(0)
        if len(parts) > 1 and REGION.match(parts[0]):
            region = parts.pop(0)
        if len(parts) > 1 and QUALITY.match(parts[0]):
            variant.append(parts.pop(0))
    name = "/".join(parts)
    if re.match(r"^(fireworks|together)-ai-", name):
        return "a price class, not a model"
    if name == "container":
        return "a tool's sessions, not a model"
    if provider == "fireworks" and not name.startswith("accounts/"):
        name = f"accounts/fireworks/models/{name}"
    return provider, name, region, "/".join(variant)


def unit_of(key):
    """(unit, service, tokens above, variant) of the source's key, or None."""
    service = next((name for end, name in SERVICES.items() if key.endswith(end)), "")
    base = key.removesuffix(next((end for end in SERVICES if key.endswith(end)), "")) if service else key
    above = ABOVE.search(base)
    base = ABOVE.sub("", base)
    variant = ""
    if interval := INTERVAL.search(base):
        base, variant = INTERVAL.sub("", base), f"over_{interval[1]}s"
    elif base not in UNITS and (found := VARIANT.search(base)):
        base, variant = base[: found.start()], found[1].lower()
    unit = UNITS.get(base)
    return unit and (unit, service, int(above[1]) * 1000 if above else 0, variant)


def name_of(unit, service="", above=0, variant=""):
    return unit + (f"@{variant}" if variant else "") + (f"/{service}" if service else "") + (f">{above}" if above else "")


def off_peak(facts, key, prices, report):
    """Prices at night: which hours of the week (UTC, Monday first, a bit an hour) stands beside them."""
    hours = [0] * 7
    for window in facts["windows"]:
        spans = window["hours_utc"]
        for span in [spans] if isinstance(spans, str) else spans:
            start, end = (int(time.split(":")[0]) for time in span.split("-"))
            assert span.count(":00") == 2, f"{key}: an off-peak window that is not whole hours"
            for day in window["weekdays"]:
                for hour in range(start, end or 24):
                    hours[day - 1] |= 1 << hour
    for name, value in facts.items():
        if found := unit_of(name):
            prices[name_of(found[0], "off_peak")] = per_million(value, key, report)
    prices["off_peak_hours"] = ".".join(f"{day:x}" for day in hours)


def prices_of(key, facts, variant, report):
    prices, task = {}, TASKS.get(facts.get("mode"), "")
    for name in sorted(facts):
        value, found = facts[name], unit_of(name)
        if name == "off_peak_pricing":
            off_peak(value, key, prices, report)
        elif name == "provider_specific_entry":
            for factor in ("us", "fast"):
                if factor in value:
                    prices[f"x_{factor}"] = amount(Decimal(value[factor]))
            if not {"us", "fast"} & set(value):
                report.ignored[(name, "how another program speaks with the provider")] += 1
        elif name == "tiered_pricing":
            for tier in value:
                for inner in sorted(tier):
                    if inner != "range":
                        unit = unit_of(inner)[0]
                        prices[name_of(unit, "", int(tier["range"][0]))] = per_million(tier[inner], key, report)
        elif found and found[0].startswith("x_"):
            prices[found[0]] = amount(Decimal(value))
        elif found:
            unit, service, above, kind = found
            if unit == "pixel":
                size = next((part for part in variant.split("/") if re.match(r"^\d+x\d+$", part)), None)
                if size and value:
                    across, down = size.split("x")
                    value, unit = Decimal(value) * int(across) * int(down), "image"
                elif not value:
                    continue
            # The source says an image's price as input where it has no token price for the answer.
            if unit == "image_in" and task == "image" and "output_cost_per_image" not in facts:
                unit = "image"
            image_of = variant if unit == "image" else ""
            target = name_of(unit, service, above, "/".join(part for part in (image_of, kind) if part))
            price = per_million(value, f"{key} {name}", report)
            if prices.setdefault(target, price) != price and name != "input_cost_per_token_cache_hit":
                report.left_out[f"a second price for the same unit ({name})"].append(key)
    return prices


def abilities_of(facts):
    can = []
    for ability, keys in ABILITIES.items():
        denied = keys.startswith("!")
        values = [facts.get(key) for key in keys.removeprefix("!").split()]
        if (denied and False not in values) or (not denied and True in values):
            can.append(ability)
    endpoints = facts.get("supported_endpoints") or []
    chats = any(end.endswith("/chat/completions") for end in endpoints)
    if facts.get("mode") == "responses" or ("/v1/responses" in endpoints and not chats and facts.get("mode") == "chat"):
        can.append("responses_only")
    if "image" in (facts.get("supported_output_modalities") or []):
        can.append("image_output")
    if "tools" not in can and "forced_tool" in can:
        can.remove("forced_tool")
    return can if TASKS.get(facts.get("mode")) == "chat" else [one for one in can if one not in CHAT_ONLY]


CHAT_ONLY = {"forced_tool", "system", "sampling", "streaming"}


def row_of(key, facts, report):
    where = place(key, facts)
    if isinstance(where, str):
        report.left_out[where].append(key)
        return None
    provider, name, region, variant = where
    mode = facts.get("mode") or ("audio_speech" if "input_cost_per_character" in facts else None)
    task = "music" if "lyria" in name else TASKS.get(mode)
    if not task:
        report.left_out[NO_TASK.get(mode, f"mode {mode} is unknown")].append(key)
        return None
    for known in facts:
        if unit_of(known) or known in ("off_peak_pricing", "provider_specific_entry", "tiered_pricing"):
            continue
        if any(known in keys.removeprefix("!").split() for keys in ABILITIES.values()):
            continue
        if known in ("max_input_tokens", "max_output_tokens", "output_vector_size", "deprecation_date",
                     "supported_endpoints"):
            continue
        why = IGNORED.get(known) or next((w for p, w in IGNORED_PATTERNS.items() if re.match(p, known)), None)
        report.ignored[(known, why or "UNKNOWN KEY: is it a price?")] += 1
    prices = prices_of(key, facts, variant, report)
    if prices and not any(re.search("[1-9]", price) for price in prices.values()) and not FREE.match(f"{provider}/{name}"):
        report.ignored[("prices that are all 0", "no vendor says it is free: it stays unpriced")] += 1
        prices = {}
    limit = lambda field: str(int(facts[field])) if facts.get(field) else ""
    return {
        "key": (provider, name, region), "task": task, "variant": variant, "source": key,
        "limits": [limit("max_input_tokens"), limit("max_output_tokens"), limit("output_vector_size")],
        "deprecated": facts.get("deprecation_date") or "", "abilities": abilities_of(facts),
        "prices": prices,
    }


def merge(rows, report):
    """One row a model: variants of an image's price go into it; of two rows the more explicit wins."""
    models = {}
    foundry = lambda row: row["source"].startswith("azure_ai/") == row["key"][1].startswith("mistral")
    explicit = lambda row: (not row["variant"], row["prices"].get("in") != "0", foundry(row), "/" in row["source"])
    for row in sorted(rows, key=lambda row: (row["key"], [not flag for flag in explicit(row)], row["source"])):
        first = models.setdefault(row["key"], row)
        if first is row:
            continue
        if row["variant"]:
            report.merged["prices by size and quality into their model"].append(row["source"])
        elif first["prices"] == row["prices"]:
            report.merged["named twice, the same prices"].append(row["source"])
        else:
            report.merged["named twice, other prices: the first name's hold"].append(f"{first['source']} > {row['source']}")
        agree = all(first["prices"].get(unit) == row["prices"].get(unit) for unit in ("in", "out"))
        for unit, price in row["prices"].items():
            if row["variant"] or agree:
                first["prices"].setdefault(unit, price)
        first["abilities"] = [one for one in [*ABILITIES, "responses_only", "image_output"]
                              if one in first["abilities"] or (one in row["abilities"] and one != "responses_only")]
        first["limits"] = [a or b for a, b in zip(first["limits"], row["limits"])]
    for (provider, name, region), row in sorted(models.items()):
        plain = models.get((provider, name, ""))
        if region and plain:
            row["limits"] = [own or of_all for own, of_all in zip(row["limits"], plain["limits"])]
            row["abilities"] = plain["abilities"]
        if region and plain and plain["prices"] == row["prices"]:
            report.merged["a region with the prices of all"].append(row["source"])
        else:
            yield [provider, name, region, row["task"], *row["limits"], row["deprecated"], " ".join(row["abilities"]),
                   "|".join(f"{unit} {price}" for unit, price in sorted(row["prices"].items()))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=ROOT / "../shared/catalog/prices_source.json", type=pathlib.Path)
    parser.add_argument("--date", default="2026-11", help="when the prices held, for example 2026-11")
    parser.add_argument("--out", default=ROOT / "src/catalog/models.tsv", type=pathlib.Path)
    arguments = parser.parse_args()
    source = json.loads(arguments.source.read_text("utf-8"), parse_float=Decimal)
    report = Report()
    rows = [row_of(key, facts, report) for key, facts in source.items() if isinstance(facts, dict)
            and "litellm_provider" in facts and key != "sample_spec"]
    lines = list(merge([row for row in rows if row], report))
    head = (f"# Models and their prices in US dollars per million units. Written by scripts/catalog.py.\n"
            f"# date {arguments.date}\n# " + COLUMNS.replace(" ", "\t") + "\n")
    arguments.out.write_text(head + "".join("\t".join(line) + "\n" for line in lines), "utf-8")
    report.show(lines, len(source))
    print(f"{arguments.out.name}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
