# How Atlas finds the database. `livermore db apply` fills the variables: addresses never stand on a command line.
env "livermore" {
  src = "file://schema.sql"
  url = getenv("LIVERMORE_ATLAS_URL")
  dev = getenv("LIVERMORE_ATLAS_DEV_URL")
}
