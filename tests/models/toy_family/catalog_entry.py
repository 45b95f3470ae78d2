"""What a contributor adds to `compressor.models.catalog.FAMILIES` for the toy family."""

from compressor.models.catalog import Family, ModelCard
from compressor.models.loading.files import SAFETENSORS
from compressor.models.loading.repository_files import RepositoryFiles

ENTRY = {
    "toy": Family(  # the `model_type` in config.json
        "Toy",
        "toy_family",  # the folder in families/
        RepositoryFiles(("config.json", "*.safetensors"), weights=(SAFETENSORS,)),
        cards=(
            ModelCard(
                name="toy-1",
                title="Toy 1",
                description="A toy.",
                family="toy",
                repository="owner/toy-1",
                licence="Apache-2.0",
                image_tokens=16,
                memory_gb=0.001,
            ),
        ),
    ),
}
