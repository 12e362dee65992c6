/** Role normalize: a transform of a vector on the client, after training and before compression. */

import { Transform } from "./stage";

export abstract class Normalize extends Transform {}
