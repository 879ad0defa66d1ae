/** Owns the headers that every answer carries, errors included (contract.md section 0). */
export const cors: Readonly<Record<string, string>> = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Headers": "authorization, x-client-info, apikey, content-type",
};
