"""Prompts that show what the embedded models draw, by kind."""

EXAMPLES = {
    "image": (
        "a rocket on a blue dotted background",
        "a dog above a tree and a car on a pink background",
        "a rabbit above a flower on a blue background",
    ),
    "video": (
        "a red circle moves left while a blue square grows",
        "an orange triangle moves up",
        "a green square shrinks while a purple circle moves down",
    ),
}
