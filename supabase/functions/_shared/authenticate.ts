import { createRemoteJWKSet, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { Unauthorized } from "./unauthorized.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const ASYMMETRIC = ["ES256", "RS256", "EdDSA"];

/** From an `Authorization` header to the id of a signed-in user. Throws Unauthorized, or TypeError when the keys cannot be had. */
export type Authenticate = (authorization: string | null) => Promise<string>;

/**
 * Checks user tokens with the project's signing keys, or with the shared secret of a project that still has one. The
 * platform's own `verify_jwt` cannot: it rejects the new signing keys and lets the public anon key through.
 */
export function authenticator(supabaseUrl: string, legacySecret: string | undefined): Authenticate {
  const projectKeys = createRemoteJWKSet(new URL("/auth/v1/.well-known/jwks.json", supabaseUrl));
  const sharedSecret = legacySecret === undefined ? undefined : new TextEncoder().encode(legacySecret);

  async function claims(token: string): Promise<JWTPayload> {
    const audience = "authenticated";
    if (decodeProtectedHeader(token).alg !== "HS256") {
      return (await jwtVerify(token, projectKeys, { algorithms: ASYMMETRIC, audience })).payload;
    }
    if (sharedSecret === undefined) {
      throw new Unauthorized("The token is signed with a secret that this project no longer uses");
    }
    return (await jwtVerify(token, sharedSecret, { algorithms: ["HS256"], audience })).payload;
  }

  return async (authorization) => {
    const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? "")?.[1];
    if (!token) throw new Unauthorized("Sign in first: no user token was sent");
    try {
      const { sub, role, is_anonymous } = await claims(token);
      if (role === "authenticated" && is_anonymous !== true && sub && UUID.test(sub)) return sub;
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw new Unauthorized("Sign in again: the user token has expired");
      if (error instanceof Unauthorized) throw error;
      if (!isTokenFault(error)) throw error;
    }
    throw new Unauthorized("Sign in first: the token is not a user's");
  };
}

/** What jose says when the project's keys cannot be had or read: nobody's token is to blame for that. */
const KEYS_AT_FAULT = ["ERR_JOSE_GENERIC", "ERR_JWKS_INVALID", "ERR_JWKS_TIMEOUT"];

function isTokenFault(error: unknown): boolean {
  if (error instanceof errors.JOSEError) return !KEYS_AT_FAULT.includes(error.code);
  return error instanceof TypeError && error.message.includes("Token");
}
