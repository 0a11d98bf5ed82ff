output "images" {
  description = "Where to push the image: <this>/clearyear:<tag>."
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "runner" {
  description = "CLEARYEAR_RUNNER for `prefect deploy`."
  value       = google_service_account.runner.email
}

output "results" {
  description = "Where composites go."
  value       = google_storage_bucket.results.url
}
