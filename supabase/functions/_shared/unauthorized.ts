/** The caller is not a signed-in user of this project. */
export class Unauthorized extends Error {
  override name = "Unauthorized";
}
