"""A service that says which cluster an uploaded picture belongs to.

``MODEL=paintings-clusters/model.safetensors uvicorn --app-dir examples/serving app:app``

The bytes of one picture are the body of ``POST /cluster``. What is too large is refused while it
arrives; what is no picture, with a reason.
"""

import os
import tempfile

from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from skdcec._runs import load_model
from skdcec.datasets import ImageLoader

MAX_BYTES = int(os.environ.get("MAX_BYTES", 20_000_000))
# Pictures with more pixels are refused by their header. All requests together take at most 16
# bytes of memory for each of them to decode.
MAX_PIXELS = 50_000_000

saved = load_model(os.environ["MODEL"])
height, width, _ = saved.model.image_shape_
loader = ImageLoader(
    size=(height, width), resize=saved.reading.get("resize", "pad"), max_pixels=MAX_PIXELS
)
app = FastAPI(title="Clusters of images")


@app.post("/cluster")
async def cluster(request: Request) -> dict:
    """Return the cluster of the picture that is the body."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > MAX_BYTES:
        raise HTTPException(413, f"The picture has more than {MAX_BYTES} bytes.")
    with tempfile.NamedTemporaryFile(suffix=".upload") as file:
        n_bytes = 0
        # Whatever the header claims, no more than this is kept.
        async for block in request.stream():
            n_bytes += len(block)
            if n_bytes > MAX_BYTES:
                raise HTTPException(413, f"The picture has more than {MAX_BYTES} bytes.")
            file.write(block)
        file.flush()
        # The event loop is free meanwhile.
        return await run_in_threadpool(classify, file.name)


def classify(path: str) -> dict:
    """Return what the model says of a picture."""
    try:
        image = loader.transform([path])
    except ValueError as error:
        # The message may have a parenthesis within that of the reason.
        reason = str(error).partition(f"{path!r} (")[2].rpartition(")")[0]
        raise HTTPException(422, f"The picture cannot be used: {reason}.") from error
    probabilities = saved.model.predict_proba(image)[0]
    found = int(probabilities.argmax())
    unlike = saved.detector is not None and bool(saved.detector.predict(image)[0] == -1)
    return {
        "cluster": found,
        "probability": round(float(probabilities[found]), 4),
        "unlike_all_known": unlike,
    }
