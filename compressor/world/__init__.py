"""The generated world: pictures, dialogues about them, and the whole truth. Imports `dialogues` only."""
