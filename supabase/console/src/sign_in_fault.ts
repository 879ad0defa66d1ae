/** Why somebody could not sign in, and what they can do about it. Knows only how auth words its errors. */

/** `status` is 0 where nothing was reached, and missing where what came was no answer of auth's. */
export type Fault = { message: string; status?: number | undefined; code?: string | undefined };

export function signInFault({ message, status, code }: Fault): string {
  if (code === "invalid_credentials" || (status === 400 && !code)) return "E-mail or password is wrong";
  if (code === "email_not_confirmed") {
    return "Your e-mail address is not confirmed: open the link in the e-mail that was sent to you, then sign in";
  }
  if (status === 429) return "Too many attempts: wait a few minutes, then try again";
  if (status === 0) return "No connection: try again";
  if (status === undefined || status >= 500) return "TalentOps does not answer: try again in a few minutes";
  return `Cannot sign in: ${message}`;
}
