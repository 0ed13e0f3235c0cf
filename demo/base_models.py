"""Train the tiny models of the demo on drawn images: Stable Diffusion's parts, a whole CLIP, and three classifiers.

    python demo/base_models.py run=runs/base_models

Everything learns from images of uniformly drawn content with captions of it (demo/captions.py); only the judge sees
emotions. The same command again goes on where it stopped. About an hour and a half on 2 cores. The result,
`<run>/models/`, is committed as demo/models/:

    stable_diffusion/  StableDiffusionPipeline: CLIP text tower, KL autoencoder, U-Net (predicts velocity), tokenizer
    clip/              the CLIP with both towers and projections
    backbone/          a ResNet that knows content: what ImageNet's ResNet-50 is to the full job
    content/           a ResNet that names what an image shows, for measuring; training never sees it
    judge/             a ResNet that names the emotion of a drawn image, for measuring; training never sees it
"""

import math
import sys

try:
    from config.script import log, open_run_folder, run, write_atomically
    from config.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")

IMAGES = 60_000
STEPS = dict(backbone=1800, autoencoder=3000, clip=1000, unet=2000, content=1600, judge=1600)


def main(settings: Settings) -> None:
    import torch
    from transformers import ResNetForImageClassification

    from demo import small_models as small
    from demo.small_models import draw_images
    from emoset.labels import EMOTIONS

    folder = open_run_folder(settings, "models")
    seed = settings.seed
    work = settings.run / f"work-{seed}"
    work.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def fit(name: str, module: torch.nn.Module, loss_of, batch: int, rate: float) -> torch.nn.Module:
        """Minimise `loss_of(module, rows)` with AdamW, warm-up and cosine decay; return what is to be saved.

        That is the moving average of the weights, but for the classifiers: they train too shortly for one, and their
        batch norms' statistics are not those of averaged weights.
        """
        average = torch.optim.swa_utils.AveragedModel(
            module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
        )
        module, average, steps, start = module.to(device), average.to(device), STEPS[name], 0
        optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.01, fused=True)
        saved = work / f"{name}-{steps}.pt"
        if saved.exists():
            state = torch.load(saved, weights_only=True, map_location=device)
            module.load_state_dict(state["module"])
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            start = state["step"]
        mean = None
        for step in range(start, steps):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            torch.manual_seed(generator.initial_seed())
            for group in optimizer.param_groups:
                group["lr"] = rate * min((step + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * step / steps))
            loss = loss_of(module, torch.randint(IMAGES, (batch,), generator=generator))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(module)
            mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
            if (step + 1) % 250 == 0 or step + 1 == steps:
                state = dict(module=module.state_dict(), average=average.state_dict(), optimizer=optimizer.state_dict())
                write_atomically(saved, lambda path, state=state | {"step": step + 1}: torch.save(state, path))
                log.info(f"{name}: step {step + 1:,} of {steps:,}, loss {mean:.4f}")
        kept = module if isinstance(module, ResNetForImageClassification) else average.module
        return kept.eval().requires_grad_(False)

    contents = draw_images(work / "contents", IMAGES, small.SIZE, seed, False, settings.data.workers)
    tokenizer = small.make_tokenizer(seed)
    backbone = fit("backbone", small.make_resnet(small.CONTENTS, (24, 48, 96, 128)), small.content_loss(contents), 64, 2e-3)
    vae = fit("autoencoder", small.make_autoencoder(), small.reconstruction_loss(contents, backbone), 8, 1.5e-3)
    clip = fit("clip", small.make_clip(tokenizer), small.contrastive_loss(contents, tokenizer), 128, 1e-3)
    moments = small.encode_latents(vae, contents, device)
    unet = fit("unet", small.make_unet(), small.denoising_loss(moments, contents, clip, tokenizer), 64, 1.5e-3)
    small.save_stable_diffusion(folder, vae, clip, unet, tokenizer)
    backbone.half().save_pretrained(folder / "backbone")

    content = fit("content", small.make_resnet(small.CONTENTS, (32, 64, 96, 128)), small.content_loss(contents), 64, 2e-3)
    content.half().save_pretrained(folder / "content")
    emotions = draw_images(work / "emotions", IMAGES, small.SIZE, seed, True, settings.data.workers)
    judge = fit("judge", small.make_resnet(list(EMOTIONS), (32, 64, 96, 128)), small.emotion_loss(emotions), 64, 2e-3)
    judge.half().save_pretrained(folder / "judge")


if __name__ == "__main__":
    run(main, __doc__)
