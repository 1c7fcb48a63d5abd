"""Why a system decided: heat maps and lesion centres. None of it is a diagnosis."""
