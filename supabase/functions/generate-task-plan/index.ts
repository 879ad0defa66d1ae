import { liveServices } from "../_shared/live_services.ts";
import { planDoor } from "../_shared/plan_door.ts";
import { serveFeature } from "../_shared/serve_feature.ts";

Deno.serve(serveFeature(planDoor, liveServices));
