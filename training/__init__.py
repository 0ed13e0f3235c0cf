"""The generator: data, emotion space, mapper, pipeline."""


def __getattr__(name: str):
    """Give diffusers the classes that a saved pipeline names, without loading torch for the scripts that need none."""
    if name == "EmotionMapper":
        from training.mapper import EmotionMapper as found
    elif name == "EmotionSpace":
        from training.emotion_space import EmotionSpace as found
    else:
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    return found
