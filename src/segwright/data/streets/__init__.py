"""Street scenes that need no download: drawn by this package, seen from a car, labelled to the pixel.

What is drawn: a street in perspective (city, avenue, suburb or outskirts) with lanes, markings, zebra crossings, kerbs,
sidewalks, verges, side streets, tram tracks; houses with windows, doors, shops, balconies and roofs; trees, hedges and
parks; walls, fences and guard rails; lamps, signs and traffic lights; cars, vans, trucks, buses, trams, motorcycles and
bicycles, parked and driven; people who stand, walk, wait, cross and ride; bins, benches, dogs. Light and weather vary:
sun with shadows, clouds, overcast, rain on wet roads, fog, dusk, night, snow; then blur, vignette, white balance, grain
and JPEG artefacts. Most pictures show the bonnet of the car that takes them.

Licence: MIT, like the code; nothing was copied or traced. No person, place, plate or brand is real.

Labels: Cityscapes label ids 0..33 and instance ids (label id·1000 + n for person, rider, car, truck, bus, train,
motorcycle and bicycle, else the label id), exact at every pixel; a fence owns its holes and a wheel its spokes, as in
Cityscapes. 19 classes are scored; void (ego vehicle, borders, static, dynamic, ground, parking, rail track, guard rail,
bridge) covers about a tenth.

Layout, as `write_streets` writes it: leftImg8bit/<split>/<city>/<name>_leftImg8bit.png and
gtFine/<split>/<city>/<name>_gtFine_{labelIds,labelTrainIds,instanceIds,color}.png, where <name> is
<city>_<scene, 6 digits>_000019; 8-bit grey ids, 16-bit instance ids.

Splits: train has 12 invented cities, val 4 and test 4 (`SPLITS`), each with its own taste in houses, trees and traffic;
no city and no seed is in two splits. A scene is a pure function of (seed, height, width), and shows the same street at
any size from 64×64 to 1024×2048; a longer set begins with a shorter one.

Share of the labelled pixels in per cent (in brackets roughly Cityscapes' training set), over 240 scenes at 128×256:
road 32.2 (37); sidewalk 5.14 (6); building 25.9 (23); wall 0.72 (0.65); fence 0.78 (0.9); pole 2.04 (1.2); traffic
light 0.21 (0.2); traffic sign 0.68 (0.55); vegetation 13.5 (16); terrain 1.3 (1.2); sky 6.18 (4); person 1.06 (1.2);
rider 0.15 (0.13); car 8.89 (7); truck 0.24 (0.27); bus 0.22 (0.23); train 0.32 (0.23); motorcycle 0.1 (0.1); bicycle
0.35 (0.4). Void covers 10.8% of all pixels.

Unlike the real world: flat ground and one horizon; straight facades of a few kinds; no reflections in glass, no
motion blur, no transparent things; annotations without human error; people are simple and sit only to ride; the
traffic rules of many countries are mixed. Scores here rank methods and test code; they say nothing about real streets.
"""

from segwright.data.streets.city import SPLITS
from segwright.data.streets.dataset import Streets, scene_name, scene_seed
from segwright.data.streets.ids import TRAIN_ID
from segwright.data.streets.scene import Scene, render_scene
from segwright.data.streets.writing import write_streets

__all__ = ["SPLITS", "TRAIN_ID", "Scene", "Streets", "render_scene", "scene_name", "scene_seed", "write_streets"]
