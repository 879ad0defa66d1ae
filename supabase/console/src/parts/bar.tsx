/** A bar beside a figure. The figure says it all: the picture is for the eye alone. */
export function Bar({ value, most }: { value: number; most: number }) {
  return (
    <svg className="small-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect width={most > 0 ? Math.max(value > 0 ? 0.5 : 0, 100 * value / most) : 0} height="10" rx="1" />
    </svg>
  );
}
