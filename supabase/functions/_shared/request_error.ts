/** The request cannot be answered; the message is for the caller. Statuses are the contract's, chosen at the edge. */
export class RequestError extends Error {
  override name = "RequestError";
}
