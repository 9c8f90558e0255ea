import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.JobsApi;
import org.openapitools.client.model.JobRecord;
import org.openapitools.client.model.LightJobRecord;
import org.openapitools.client.model.TriggerBody;

/** A trigger, a wait, an error, and a value that a newer server added, with the client of openapi-generator. */
public class Story {
  public static void main(String[] arguments) throws Exception {
    JobsApi jobs = jobs("AVA_URL");
    TriggerBody body = new TriggerBody().workerId("wkr_sleep").input(Map.of("seconds", 0));
    JobRecord triggered = jobs.triggerJob(body, null, null).getData();
    LightJobRecord waited = jobs.showJob(triggered.getId(), 30, null, null).getData();
    LightJobRecord unknown = jobs("NEWER_URL").showJob(triggered.getId(), null, null, null).getData();
    Map<String, Object> found = Map.of(
        "triggered", triggered.getStatus(),
        "waited", List.of(waited.getStatus(), waited.getOutput()),
        "refused", refused(jobs),
        "unknown", List.of(unknown.getStatus(), unknown.getTrigger()));
    System.out.println(new ObjectMapper().writeValueAsString(found));
  }

  private static JobsApi jobs(String variable) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv(variable));
    client.setRequestInterceptor(call -> call.header("Authorization", "Bearer " + System.getenv("AVA_API_KEY")));
    return new JobsApi(client);
  }

  private static List<Object> refused(JobsApi jobs) throws Exception {
    try {
      jobs.triggerJob(new TriggerBody().workerId("wkr_unknown"), null, null);
      throw new AssertionError("an unknown worker was accepted");
    } catch (ApiException error) {
      String code = new ObjectMapper().readTree(error.getResponseBody()).at("/error/code").asText();
      return List.of(error.getCode(), code);
    }
  }
}
