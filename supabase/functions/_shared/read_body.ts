import { RequestError } from "./request_error.ts";

export const MAX_BODY_BYTES = 64 * 1024;

/** The JSON object of a request. Throws RequestError for another content type, a body over 64 KiB, broken JSON, no object. */
export async function readBody(request: Request): Promise<Record<string, unknown>> {
  const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new RequestError(`Cannot read a body of type "${type ?? ""}": send application/json`);
  }
  const body = parsed(await readText(request));
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new RequestError("Cannot read the body: it is not a JSON object");
  }
  return body as Record<string, unknown>;
}

async function readText(request: Request): Promise<string> {
  const tooLarge = new RequestError(`Cannot read the body: it is larger than ${MAX_BODY_BYTES} bytes`);
  if (Number(request.headers.get("content-length") ?? 0) > MAX_BODY_BYTES) throw tooLarge;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let [text, size] = ["", 0];
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.byteLength;
      if (size > MAX_BODY_BYTES) throw tooLarge;
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof TypeError) throw new RequestError("Cannot read the body: it is not UTF-8 text");
    throw error;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new RequestError("Cannot read the body: it is not JSON");
  }
}
