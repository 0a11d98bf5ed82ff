# Two accounts, no keys. Composites run as the runner; the worker makes jobs and hands them the runner's identity.

resource "google_service_account" "runner" {
  account_id   = "clearyear-runner"
  display_name = "clearyear runner"
  description  = "app=clearyear: is what composites run as"
}

resource "google_service_account" "worker" {
  account_id   = "clearyear-worker"
  display_name = "clearyear worker"
  description  = "app=clearyear: makes and watches Cloud Run jobs"
}

# What Prefect's worker asks of Cloud Run, and no more: roles/run.admin may also open services to the world.
resource "google_project_iam_custom_role" "worker" {
  role_id     = "clearyearWorker"
  title       = "clearyear worker"
  description = "app=clearyear: Cloud Run jobs"

  permissions = [
    "run.executions.cancel",
    "run.executions.delete",
    "run.executions.get",
    "run.executions.list",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.run",
  ]
}

resource "google_project_iam_member" "worker_makes_jobs" {
  project = var.project
  role    = google_project_iam_custom_role.worker.id
  member  = google_service_account.worker.member
}

resource "google_service_account_iam_member" "worker_hands_out_the_runner" {
  service_account_id = google_service_account.runner.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.worker.member
}

resource "google_artifact_registry_repository_iam_member" "worker_pulls" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

# Prefect's results ask for the bucket itself (storage.buckets.get), which objectUser does not have.
resource "google_storage_bucket_iam_member" "runner_writes" {
  for_each = toset(["roles/storage.objectUser", "roles/storage.legacyBucketReader"])

  bucket = google_storage_bucket.results.name
  role   = each.value
  member = google_service_account.runner.member
}

resource "google_storage_bucket_iam_member" "runner_reads_scenes" {
  count = var.scenes_bucket == null ? 0 : 1

  bucket = var.scenes_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.runner.member
}

resource "google_secret_manager_secret_iam_member" "read_the_password" {
  for_each = {
    runner = google_service_account.runner.member
    worker = google_service_account.worker.member
  }

  secret_id = google_secret_manager_secret.auth.id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}
