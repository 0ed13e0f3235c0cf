"""How fast an update by exact answers is, against a GRPO step whose group shares its image and prompt.

    python benchmarks/exact_step.py

The same LoRA on the same Qwen2.5-VL with random weights and images of 64 tokens, as in benchmarks/grpo_step.py. An exact
update scores every answer that a question allows (2, 8 or 21, a third of the questions each) in one row. A GRPO step samples
eight answers of 8 tokens, scores them and learns from them. The vision tower sees each image in each step, in both. The
rounds take the two in turn. benchmarks/grpo_full_size.py does the same at the size of Qwen2.5-VL-3B.
"""

import tempfile
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from grpo_step import LORA, PIXELS, ROUNDS, Step, make_model, make_processor, make_questions, now, with_peak
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments

from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Rewards
from runtime.script import take_no_arguments
from understanding.chat import conversation, read_chat
from understanding.exact import Batches, ExactTrainer
from understanding.objective import Objective
from understanding.question import Question
from understanding.trainers import spare_frozen

KINDS = ("binary", "multiple", "misleading")
CASES = ((350, 8), (350, 32), (100, 32))  # tokens of a prompt, and questions
ANSWER = 8  # tokens of a sampled answer


def main() -> None:
    rows = {}
    for prompt, questions in CASES:
        steps = {"sampled": Step(True, prompt, ANSWER, questions), "exact": ExactStep(prompt, questions)}
        measured = {name: [] for name in steps}
        for step in steps.values():
            step()  # to warm up, and to compare shared rows with others
        for _ in range(ROUNDS):
            for name, step in steps.items():
                measured[name].append(with_peak(step))
        seconds = {name: np.median([sum(took) for took, _ in each]) for name, each in measured.items()}
        for name, each in measured.items():
            row = [
                seconds[name],
                questions / seconds[name],
                seconds["sampled"] / seconds[name],
                max(peak for _, peak in each),
            ]
            rows[f"prompts of {prompt}, {questions} questions, {name}"] = row
    print(f"\nmedian of {ROUNDS} steps, {torch.get_num_threads()} threads")
    print(pd.DataFrame(rows, ["step s", "questions/s", "speed-up", "peak MB"]).T.to_markdown(floatfmt=".2f"))


class ExactStep:
    """A trainer by exact answers, and its update. model: makes one for a tokenizer. options: of TrainingArguments."""

    def __init__(
        self,
        prompt: int,
        questions: int,
        pixels: int = PIXELS,
        model: Callable = make_model,
        adapter: LoraConfig = LORA,
        **options,
    ):
        torch.manual_seed(0)
        processor, taxonomy, answers = make_processor(pixels), read_taxonomy(DEFAULT), Answers(reasoning=False)
        made = make_questions(processor, prompt, questions, pixels)
        texts = [each["prompt"][0]["content"] for each in made]
        asked = [_question(number, text, taxonomy.emotions) for number, text in enumerate(texts)]
        self.rows = [
            {"prompt": conversation(text), "image": each["image"], "question": number}
            for number, (text, each) in enumerate(zip(texts, made, strict=True))
        ]
        whole = model(processor.tokenizer)
        spare_frozen(whole)
        options = {"bf16": False, "report_to": "none", "use_cpu": not torch.cuda.is_available()} | options
        self.trainer = ExactTrainer(
            get_peft_model(whole, adapter),
            TrainingArguments(
                tempfile.mkdtemp(), per_device_train_batch_size=questions, remove_unused_columns=False, **options
            ),
            data_collator=Batches(read_chat(processor), asked, taxonomy, answers),
            train_dataset=self.rows,
            processing_class=processor,
            objective=Objective(taxonomy, answers, Rewards(), dict.fromkeys(KINDS, 1.0)),
            questions=asked,
        )
        if self.trainer.args.gradient_checkpointing:  # as train() does
            self.trainer.model.gradient_checkpointing_enable(self.trainer.args.gradient_checkpointing_kwargs)
        self.trainer.model.train()
        trained = [weight for weight in self.trainer.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, 1e-5)

    def __call__(self) -> tuple[float, float]:
        """Return the seconds of preparing the batch, and of the update."""
        start = now()
        batch = self.trainer._prepare_inputs(self.trainer.data_collator(self.rows))
        middle = now()
        self.trainer.compute_loss(self.trainer.model, batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return middle - start, now() - middle


def _question(number: int, text: str, emotions: tuple[str, ...]) -> Question:
    kind, emotion = KINDS[number % len(KINDS)], emotions[number % len(emotions)]
    if kind == "multiple":
        return Question(kind, str(number), emotion, None, emotions, 0, text)
    return Question(kind, str(number), emotion, emotions[0], (), 0, text)


if __name__ == "__main__":
    take_no_arguments(__doc__)
    main()
