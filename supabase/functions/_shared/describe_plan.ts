import { cleanText } from "./clean_text.ts";
import { features, type PlanInput, type SimilarTask } from "./features.gen.ts";
import { RequestError } from "./request_error.ts";
import { shorten } from "./shorten.ts";

const LIMITS = features.plan.inputSchema.properties;
const SIMILAR = features.plan.inputSchema.$defs.SimilarTask.properties;

/** What the app asks of the planning assistant, cleaned but not yet shortened. */
export type PlanWish = { title: string; description: string; skills: string[] };

/** Reads the frontend's request. `skills` that are no array of texts are left out rather than refused. */
export function readPlanWish(body: Record<string, unknown>): PlanWish {
  const title = cleanText(body.title).replaceAll(/\s+/g, " ");
  const description = cleanText(body.description).replaceAll(/[^\S\n]+/g, " ").replaceAll(/\n{2,}/g, "\n");
  if (!title || !description) throw new RequestError("Task title and description are required");
  const skills = (Array.isArray(body.skills) ? body.skills : []).map(cleanText).filter((skill) => skill !== "");
  return { title, description, skills: [...new Set(skills)] };
}

/** The planning assistant's prompt input: everything within the prompt's budget, and which fields were cut for it. */
export function describePlan(
  wish: PlanWish,
  similar: SimilarTask[],
): { promptInput: PlanInput; shortened: string[] } {
  const title = shorten(wish.title, LIMITS.title.maxLength);
  const description = shorten(wish.description, LIMITS.description.maxLength);
  const skills = wish.skills.slice(0, LIMITS.skills.maxItems).map((skill) =>
    shorten(skill, LIMITS.skills.items.maxLength)
  );
  const tasks = similar.slice(0, LIMITS.similar.maxItems).map(fitted).filter(({ task }) => task.steps.length > 0);
  const shortened = [
    title.cut && "title",
    description.cut && "description",
    (wish.skills.length > skills.length || skills.some(({ cut }) => cut)) && "skills",
    tasks.some(({ cut }) => cut) && "similar",
  ].filter((field) => field !== false);
  return {
    promptInput: {
      title: title.text,
      description: description.text,
      skills: skills.map(({ text }) => text),
      similar: tasks.map(({ task }) => task),
    },
    shortened,
  };
}

function fitted(given: SimilarTask): { task: SimilarTask; cut: boolean } {
  const clean = (text: string) => cleanText(text).replaceAll(/\s+/g, " ");
  const title = shorten(clean(given.title) || "Untitled task", SIMILAR.title.maxLength);
  const wanted = given.steps.map(clean).filter((step) => step !== "");
  const steps = wanted.slice(0, SIMILAR.steps.maxItems).map((step) => shorten(step, SIMILAR.steps.items.maxLength));
  const cut = title.cut || wanted.length > steps.length || steps.some((step) => step.cut);
  return { task: { title: title.text, steps: steps.map(({ text }) => text) }, cut };
}
