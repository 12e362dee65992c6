/** Role post: a transform of the aggregate on the server, e.g. a clip or noise. */

import { Transform } from "./stage";

export abstract class Post extends Transform {}
