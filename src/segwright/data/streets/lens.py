"""What the camera adds: the bonnet in front of it, wet reflections, rain, blur, noise, colour, dark borders."""

from __future__ import annotations

from random import Random

import cv2
import numpy as np

from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.ids import EGO_VEHICLE, OUT_OF_ROI, RECTIFICATION_BORDER, ROAD, SIDEWALK
from segwright.data.streets.light import Colour, mix, scaled
from segwright.data.streets.noise import TILE, fractal, grain


def paint_wet(canvas: Canvas) -> None:
    """Mirror the scene in a wet road: a blurred picture turned over at the horizon, in puddles."""
    wet, camera = canvas.light.wet, canvas.camera
    horizon = round(camera.centre_y + camera.focal * float(camera.rotation[1, 2]))
    rows = camera.height - horizon
    if wet <= 0 or rows < 8 or horizon < 4:
        return
    above = canvas.image[max(0, horizon - rows) : horizon][::-1]
    mirror = cv2.resize(above, (camera.width, rows), interpolation=cv2.INTER_LINEAR)
    mirror = cv2.blur(mirror, (max(1, camera.width // 160) | 1, max(3, rows // 7) | 1))
    ids = canvas.ids[horizon:]
    flat = ((ids == ROAD) | (ids == SIDEWALK)).astype(np.float32)
    s, z = camera.ground(horizon + 2)
    patches = cv2.remap(
        fractal(13, 32), np.mod(s * 14, TILE), np.mod(z * 7, TILE), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    share = np.zeros(ids.shape, np.float32)
    share[2:] = np.clip(0.42 + 0.3 * patches, 0.12, 0.8) * wet
    share = (share * flat)[..., None]
    below = canvas.image[horizon:]
    dark = below * (1 - 0.3 * wet * flat[..., None])
    canvas.image[horizon:] = np.clip(dark * (1 - share) + mirror * share, 0, 255)


def paint_bonnet(canvas: Canvas, rng: Random) -> None:
    """The bonnet of our own car at the foot of the picture: curved, with the sky in it."""
    camera, light = canvas.camera, canvas.light
    high, bulge = rng.uniform(0.05, 0.085), rng.uniform(0.015, 0.035)
    paint: Colour = rng.choice(
        ((34, 36, 40), (60, 64, 70), (150, 154, 158), (200, 202, 204), (30, 44, 78), (110, 26, 30))
    )
    x = np.linspace(-0.02, 1.02, 41)
    arc = 1 - high - bulge * (1 - (2 * x - 1) ** 2) + 0.12 * np.maximum(np.abs(2 * x - 1) - 0.86, 0)
    w, h = camera.width, camera.height
    shape = np.column_stack([x * w, arc * h])
    closed = np.concatenate([shape, array([(1.05 * w, 1.05 * h), (-0.05 * w, 1.05 * h)])])
    base = scaled(paint, sum(light.gain((0, 1, 0), 0.8)) / 3)
    canvas.fill(closed, base, EGO_VEHICLE)
    steps = 14
    for k in range(steps):  # the sky fades into the paint towards the windscreen
        t = k / steps
        low = np.add(shape, (0, high * h * t * 0.9 + 0.004 * h))
        upper = np.add(shape, (0, high * h * (t + 1 / steps) * 0.9 + 0.006 * h))
        tone = mix(mix(base, light.horizon, 0.5), base, min(1.0, t * 1.5) ** 0.6)
        canvas.fill(np.concatenate([low, upper[::-1]]), tone)
    for side in (-1, 1):
        crease = array(
            [
                (0.5 + side * 0.2, 1 - high - bulge * 0.8),
                (0.5 + side * 0.3, 1.02),
                (0.5 + side * 0.315, 1.02),
                (0.5 + side * 0.207, 1 - high - bulge * 0.8),
            ]
        )
        canvas.fill(crease * (w, h), scaled(base, 0.88))
    canvas.label(closed, EGO_VEHICLE)


def paint_rain(canvas: Canvas, rng: Random) -> None:
    """Falling streaks and, now and then, flakes."""
    light, w, h = canvas.light, canvas.camera.width, canvas.camera.height
    amount = max(light.rain, light.snow)
    if amount <= 0:
        return
    layer = np.zeros((h, w), np.uint8)
    slant = rng.uniform(-0.12, 0.12)
    for _ in range(int(330 * amount)):
        x, y, size = rng.random() * w, rng.random() * h, rng.random()
        if light.snow > 0:
            radius = (0.0008 + 0.0026 * size**3) * h
            cv2.circle(layer, (int(x * 16), int(y * 16)), int(radius * 16), (170 + 60 * size,), -1, cv2.LINE_AA, 4)
        else:
            length = (0.015 + 0.05 * size) * h
            tip = (int((x + slant * length) * 16), int((y + length) * 16))
            cv2.line(layer, (int(x * 16), int(y * 16)), tip, (60 + 70 * size,), max(1, h // 700), cv2.LINE_AA, 4)
    pale = np.array(mix(light.horizon, (255, 255, 255), 0.4 if light.snow > 0 else 0.0))
    colour = np.broadcast_to(pale.astype(np.uint8), (h, w, 3))
    canvas.blend(0, 0, colour, layer)


def develop(canvas: Canvas, rng: Random) -> None:
    """Exposure, white balance, vignette, blur, grain, and the artefacts of compression."""
    image: np.ndarray = canvas.image
    light = canvas.light
    h, w = image.shape[:2]
    exposure, warm = rng.uniform(0.94, 1.22), rng.gauss(0, 0.025)
    contrast = rng.uniform(0.92, 1.14)
    blur, gain = rng.uniform(0, 0.0011) * h, rng.uniform(1.0, 4.0) + 5.0 * light.night
    vignette, compress = rng.uniform(0.0, 0.28), rng.random() < 0.4
    quality, shift = rng.randint(70, 95), (rng.randrange(TILE), rng.randrange(TILE))
    if blur > 0.35:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    levels = np.arange(256) / 255
    toned = 0.5 + (levels * exposure - 0.5) * contrast
    curve = np.stack([np.clip(toned * (1 + k * warm), 0, 1) for k in (1, 0, -1)], 1)
    image = cv2.LUT(image, np.asarray(curve * 255 + 0.5, np.uint8)[None])
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)[None]
    fall = 1 - np.float32(vignette) * (x * x + y * y) / 2
    noise = np.roll(grain(), shift, (0, 1))
    tiled = np.tile(noise, (h // TILE + 1, w // TILE + 1, 1))[:h, :w]
    image = cv2.multiply(image, cv2.merge([fall, fall, fall]), dtype=cv2.CV_8U)
    image = cv2.addWeighted(image, 1.0, tiled, gain / 32, 0.0, dtype=cv2.CV_8U)
    if compress:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    canvas.image = np.ascontiguousarray(image, np.uint8)


def paint_borders(canvas: Canvas, rng: Random) -> None:
    """Black slivers that undistorting a real camera leaves at the rim."""
    if rng.random() < 0.6:
        return
    h, w = canvas.ids.shape
    width = rng.uniform(0.002, 0.008)
    label = RECTIFICATION_BORDER if rng.random() < 0.7 else OUT_OF_ROI
    bow = np.linspace(0, 1, 17)
    depth = width * (0.35 + 0.65 * np.abs(2 * bow - 1))
    left = np.concatenate([np.column_stack([depth * w, bow * h]), array([(-4, h), (-4, 0)])])
    top = np.concatenate([np.column_stack([bow * w, depth * h]), array([(w, -4), (0, -4)])])
    for shape in (left, (w - 1, 0) + left * (-1, 1), top):
        canvas.fill(np.asarray(shape), (0, 0, 0), label)
